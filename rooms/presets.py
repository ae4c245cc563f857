"""The messages a guest may choose from (features C1), in every language of the site."""

from rooms.roles import Language

PRESETS: dict[str, dict[Language, str]] = {
    "hello": {"en": "Hello!", "nb": "Hei!"},
    "how_are_you": {"en": "How are you today?", "nb": "Hvordan har du det i dag?"},
    "what_reading": {
        "en": "What kind of readings do you give?",
        "nb": "Hva slags lesninger gir du?",
    },
    "love": {"en": "Do you read about love?", "nb": "Leser du om kjærlighet?"},
    "career": {"en": "Do you read about work?", "nb": "Leser du om arbeid?"},
    "private_how": {
        "en": "How does a private session work?",
        "nb": "Hvordan fungerer en privat samtale?",
    },
    "lovely": {"en": "That is lovely!", "nb": "Så fint!"},
    "thanks": {"en": "Thank you!", "nb": "Takk!"},
    "bye": {"en": "Goodbye!", "nb": "Ha det!"},
}
