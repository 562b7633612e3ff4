-- Streams between servers: an edge that fetches what its players ask for, and an application whose streams go on to
-- other servers. The addresses are examples. What each connection is doing says `listConfig`:
--   printf 'listConfig\n' | nc -q 1 127.0.0.1 1112

configuration = {
  logAppenders = { { type = "coloredConsole", level = 3 } },

  applications = {
    rootDirectory = "applications",

    {
      name = "appselector",
      default = true,
      acceptors = { { ip = "0.0.0.0", port = 1935, protocol = "inboundRtmp" } },
    },

    {
      name = "admin",
      acceptors = { { ip = "127.0.0.1", port = 1112, protocol = "inboundTxtCli" } },
    },

    -- Streams that are published and played here, and nowhere else.
    { name = "flvplayback", aliases = { "live" } },

    -- rtmp://<this machine>/edge/<name> is rtmp://192.0.2.10/live/<name>, as long as somebody plays it. What is
    -- published at the edge goes to the origin. See applications/edge/README.md.
    {
      name = "edge",
      origins = { "rtmp://192.0.2.10/live", "rtmp://192.0.2.11/live" },
      linger = 10,
      -- forwardQuery = true, -- the origin decides by `?token=…`
      -- publish = "refuse",
    },

    -- Whatever is published to rtmp://<this machine>/proxypublish/<name> goes to these. See
    -- applications/proxypublish/README.md.
    {
      name = "proxypublish",
      abortOnConnectError = false,
      targetServers = {
        { targetUri = "rtmp://192.0.2.20/live", keepAlive = true },
        { targetUri = "rtmp://192.0.2.21/app", localStreamName = "news", targetStreamName = "KEY", keepAlive = true },
      },
    },

    -- Plays streams of another server by 100 connections, once it is active. See applications/stresstest/README.md.
    {
      name = "stresstest",
      targetServer = "192.0.2.10",
      targetApp = "live",
      streams = { "one", "two" },
      numberOfConnections = 100,
      randomAccessStreams = false,
      active = false,
    },
  },
}
