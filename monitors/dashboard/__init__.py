"""The page people look at: one process serves one lake to browsers, over HTTP and server-sent events.

    browser  <--  Guard  <--  Litestar: pages, fragments, chart data  <--  Backend  <--  lake, spools, alerts
       ^                                                                     |
       +---------------  LiveFeed: one poller a section  <-------------------+

`README.md` in this folder says how a section is made.
"""
