"""The one reconcile loop, and the status that it keeps.

Law: data flows one way. Sources, prober and configuration set cells; the reconciler makes a
plan of the latest values and has the plane apply it; the status is everything above. Levels,
not edges: what happens during a pass costs one more pass, however often it happened. After
any failure the next pass is a whole one.
"""
