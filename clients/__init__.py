"""The browser client (web/) and the command-line clients, which know the public API only."""
