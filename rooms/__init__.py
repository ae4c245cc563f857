"""The product: presence, free chat, private sessions. The one place where media and money meet."""
