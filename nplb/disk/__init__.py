"""State on disk: written whole and safely, checked when it is read.

Law: a crash at any moment leaves the old content or the new one. What is damaged all the same
is set aside and named, never overwritten; what a newer nplb wrote is left alone.

statefile    one file of JSON
"""
