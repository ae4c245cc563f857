# Parlour in a container: `docker build -t parlour .`, then `docker run --network host parlour`.
# scripts/prove-dockerfile runs these same steps in a clean Debian root where no Docker is at hand.
#
# The base is pinned by point release. Package versions inside it are not: a Debian release takes
# security fixes only, and a pinned version disappears from the archive on the day it has a hole.
# Everything of Python is pinned with hashes in requirements.txt.

FROM debian:12.11-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The dependencies before the source: a change of ours then costs seconds to build.
COPY requirements.txt ./
RUN python3 -m venv /opt/parlour \
    && /opt/parlour/bin/pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary=:all: -r requirements.txt
COPY pyproject.toml README.md ./
COPY signaling signaling
COPY rooms rooms
COPY billing_meter billing_meter
COPY media media
COPY clients clients
RUN /opt/parlour/bin/pip install --no-cache-dir --disable-pip-version-check \
        --no-index --no-deps --no-build-isolation . \
    && /opt/parlour/bin/pip uninstall --yes --quiet hatchling editables pip

FROM debian:12.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin parlour \
    && install -d -o parlour -g parlour -m 0700 /data
COPY --from=build /opt/parlour /opt/parlour
ENV PATH=/opt/parlour/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV PYTHONUNBUFFERED=1
# As variables and not as flags, so that `docker exec … parlour expert add NAME` finds the store.
ENV PARLOUR__SERVER__DATA=/data
ENV PARLOUR__SERVER__HTTP=0.0.0.0:8080
ENV PARLOUR__MEDIA__LISTEN=0.0.0.0:8189
USER parlour
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080/tcp 8189/udp 8189/tcp
# SIGTERM drains: no new sessions, running ones end cleanly.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["parlour"]
CMD ["serve"]
