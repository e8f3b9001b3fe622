"""Live sources: feeds that are listened to or asked, and put through the tap."""
