"""URLconfs of projects whose login views differ."""
