"""Streams from the project's own process, for development without Idlewild.

One process, no replay, no de-duplication, no tickets, no WebSocket. Under WSGI, each stream
occupies a thread.
"""
