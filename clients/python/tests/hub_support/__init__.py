"""What the tests of `idlewild` and of `idlewild-django` share.

Neither needs Django: a real server, a fake admin listener, and a client for streams.
"""
