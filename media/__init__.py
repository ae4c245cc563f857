"""The forwarding unit: one ICE-lite port, DTLS-SRTP, packets rewritten and forwarded undecoded."""
