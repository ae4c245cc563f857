"""Page shells and static files. The shells are the same template; the browser fills them in."""

from __future__ import annotations

import html
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiohttp import web

from rooms.roles import Language
from signaling.problem import Problem
from signaling.routing import Call, Route

PageName = Literal[
    "home",
    "room",
    "studio",
    "earnings",
    "wallet",
    "staff",
    "sign-in",
    "sign-up",
    "help",
    "not-found",
]

STATIC_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""Only files of these kinds are served, whatever else lies in the folder."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(self), microphone=(self), fullscreen=(self), picture-in-picture=(self),"
        " screen-wake-lock=(self), autoplay=(self), geolocation=(), payment=(), usb=()"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
HSTS = "max-age=31536000; includeSubDomains"


@dataclass(frozen=True, slots=True)
class Texts:
    """The few words that the server itself writes into a page."""

    skip: str
    no_script: str
    titles: dict[str, str]


TEXTS: dict[Language, Texts] = {
    "en": Texts(
        skip="Skip to content",
        no_script="Parlour needs JavaScript for live video and chat.",
        titles={
            "home": "Live experts",
            "room": "Room",
            "studio": "Studio",
            "wallet": "Wallet",
            "earnings": "Earnings",
            "staff": "Staff",
            "sign-in": "Sign in",
            "sign-up": "Join",
            "help": "Camera help",
            "not-found": "Not found",
        },
    ),
    "nb": Texts(
        skip="Hopp til innholdet",
        no_script="Parlour trenger JavaScript for direktevideo og chat.",
        titles={
            "home": "Eksperter direkte",
            "room": "Rom",
            "studio": "Studio",
            "wallet": "Lommebok",
            "earnings": "Inntekter",
            "staff": "Stab",
            "sign-in": "Logg inn",
            "sign-up": "Bli med",
            "help": "Hjelp med kamera",
            "not-found": "Ikke funnet",
        },
    ),
}

SHELL = """<!doctype html>
<html lang="{language}" data-page="{page}"{data}>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta name="color-scheme" content="dark">
<meta name="parlour-ws" content="/ws">
<meta name="parlour-mode" content="{mode}">
<title>{title} · Parlour</title>
<link rel="icon" href="/static/icons/parlour.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/css/app.css">
<script type="module" src="/static/js/main.js"></script>
</head>
<body>
<a class="skip-link" href="#app">{skip}</a>
<div id="app" tabindex="-1"></div>
<noscript><p class="no-script">{no_script}</p></noscript>
</body>
</html>
"""


def shell(
    page: PageName, language: Language, *, mode: str, expert: str = "", name: str = ""
) -> str:
    """The HTML of one page; `expert` goes to the client, `name` into the title."""
    texts = TEXTS[language]
    return SHELL.format(
        language=language,
        page=page,
        data=f' data-expert="{html.escape(expert)}"' if expert else "",
        mode=mode,
        title=html.escape(name or texts.titles[page]),
        skip=texts.skip,
        no_script=texts.no_script,
    )


def page_reply(
    call: Call, page: PageName, *, status: int = 200, expert: str = "", name: str = ""
) -> web.Response:
    """A page in the caller's language; `?lang=` is remembered."""
    response = web.Response(
        status=status,
        text=shell(
            page, call.language, mode=call.services.config.server.mode, expert=expert, name=name
        ),
        content_type="text/html",
        headers={"Cache-Control": "no-cache", "Vary": "Accept-Language, Cookie"},
    )
    if "lang" in call.request.query:
        call.services.identities.set_language(call.request, response, call.language)
    return response


async def home(call: Call) -> web.Response:
    """The grid of experts."""
    return page_reply(call, "home")


async def room(call: Call) -> web.Response:
    """An expert's room; 404 for a name that nobody has."""
    profile = await call.services.experts.find(call.path["expert"])
    if profile is None:
        return page_reply(call, "not-found", status=404)
    return page_reply(call, "room", expert=profile.name, name=profile.display_name)


async def studio(call: Call) -> web.Response:
    """The expert's own page; the client shows sign-in if nobody is."""
    return page_reply(call, "studio")


async def earnings(call: Call) -> web.Response:
    """What an expert earned; the API answers nobody else."""
    return page_reply(call, "earnings")


async def wallet(call: Call) -> web.Response:
    """Balance, packages, history."""
    return page_reply(call, "wallet")


async def staff(call: Call) -> web.Response:
    """What staff decides; the client shows it to staff only, and the API answers nobody else."""
    return page_reply(call, "staff")


async def sign_in(call: Call) -> web.Response:
    """Sign in."""
    return page_reply(call, "sign-in")


async def sign_up(call: Call) -> web.Response:
    """Make an account."""
    return page_reply(call, "sign-up")


async def help_camera(call: Call) -> web.Response:
    """What to do when the camera is off."""
    return page_reply(call, "help")


async def static_file(call: Call) -> web.FileResponse:
    """One file of the browser client, as written; revalidated by ETag at every use."""
    relative = call.path["file"]
    file = _inside(static_root(), relative)
    content_type = STATIC_TYPES.get(Path(relative).suffix)
    if file is None or content_type is None:
        raise Problem(404, "not_found", "There is no such file.")
    response = web.FileResponse(file, headers={"Cache-Control": "no-cache"})
    response.content_type = content_type
    if content_type.startswith("text/"):
        response.charset = "utf-8"
    return response


def static_root() -> Path:
    """Where the browser client lies, in a checkout and in an installed wheel alike."""
    return Path(str(importlib.resources.files("clients"))) / "web"


def _inside(root: Path, relative: str) -> Path | None:
    """The file below root, or None for anything else: dot files, links out, folders."""
    if any(part.startswith(".") or not part for part in relative.split("/")) or "\0" in relative:
        return None
    file = (root / relative).resolve()
    return file if file.is_relative_to(root.resolve()) and file.is_file() else None


ROUTES = (
    Route("GET", "/", home, "Home page", reply="text/html"),
    Route("GET", "/room/{expert}", room, "Room page", reply="text/html"),
    Route("GET", "/studio", studio, "Studio page", reply="text/html"),
    Route("GET", "/earnings", earnings, "Earnings page", reply="text/html"),
    Route("GET", "/wallet", wallet, "Wallet page", reply="text/html"),
    Route("GET", "/staff", staff, "Staff page", reply="text/html"),
    Route("GET", "/sign-in", sign_in, "Sign-in page", reply="text/html"),
    Route("GET", "/sign-up", sign_up, "Sign-up page", reply="text/html"),
    Route("GET", "/help/camera", help_camera, "Camera help page", reply="text/html"),
    Route("GET", "/static/{file:.+}", static_file, "The browser client", reply="file"),
)
