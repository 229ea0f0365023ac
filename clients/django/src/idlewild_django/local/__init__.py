"""Streams from the project's own process, for development without Idlewild.

One process, no replay, no de-duplication, no tickets, no WebSocket; a stream under WSGI holds a
thread.
"""
