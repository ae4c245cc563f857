"""The door: HTTP and WebSocket API, WHIP/WHEP, accounts, configuration, command line, wiring."""
