"""What a finished run says of itself, for people: from its folder alone, without torch."""
