"""The doctor: looks at one installation as a server would, and says what to do about what it finds."""
