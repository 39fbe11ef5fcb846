"""The server half: orders, keeps and publishes a room's messages while it holds the role, and hands the role on.

`core` decides and `server` does; nothing else in here is for others to import.
"""
