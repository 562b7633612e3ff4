-- The configuration to begin with: publish and play RTMP at rtmp://<this machine>/live/<name>.
-- Every key is explained in docs/configuration.md. `crtmpserver --check FILE` checks a file.

configuration = {
  -- Go to the background. `--daemon` does the same.
  daemon = false,

  -- Where limits and ingest points that commands set are kept over a restart:
  -- stateFile = "/var/lib/crtmpserver/state.json",

  logAppenders = {
    { name = "console", type = "coloredConsole", level = 3 },
    -- A file beside it, kept below 10 MB, with ten old ones:
    -- { name = "file", type = "file", level = 4, fileName = "/var/log/crtmpserver.log",
    --   fileLength = 10 * 1024 * 1024, fileHistorySize = 10 },
  },

  applications = {
    rootDirectory = "applications",

    -- Takes the connections, and gives each to the application that its address names.
    {
      name = "appselector",
      description = "Application for selecting the rtmp application",
      protocol = "dynamiclinklibrary",
      default = true,
      validateHandshake = true,
      acceptors = {
        { ip = "0.0.0.0", port = 1935, protocol = "inboundRtmp" },
        -- RTMP of every kind: plain and encrypted, over HTTP, and all of it within TLS.
        -- { ip = "0.0.0.0", port = 443, protocol = "inboundRtmpAny",
        --   sslCert = "/etc/crtmpserver/fullchain.pem", sslKey = "/etc/crtmpserver/privkey.pem" },
      },
    },

    -- Commands for operators, from this machine only: `nc 127.0.0.1 1112`, then `help`.
    {
      name = "admin",
      description = "Application for administering",
      protocol = "dynamiclinklibrary",
      -- secret = "…",  -- what a session must show (`auth secret=…`) to do everything; needed off this machine
      acceptors = {
        { ip = "127.0.0.1", port = 1112, protocol = "inboundTxtCli" },
        { ip = "127.0.0.1", port = 1113, protocol = "inboundJsonCli" },
        { ip = "127.0.0.1", port = 1222, protocol = "inboundAsciiCli" },
        { ip = "127.0.0.1", port = 7777, protocol = "inboundHttpJsonCli" },
      },
    },

    -- Publishing and playing live streams.
    {
      name = "flvplayback",
      description = "FLV Playback Sample",
      protocol = "dynamiclinklibrary",
      aliases = { "live", "vod", "simpleLive", "vod1", "live1" },
      validateHandshake = true,
      -- Whoever publishes must say who it is, as OBS, ffmpeg and GStreamer can (docs/configuration.md, "Authentication"):
      -- authentication = {
      --   rtmp = { type = "adobe", usersFile = "/etc/crtmpserver/users.lua", authenticatePlay = false },
      -- },
      -- where users.lua holds, and only the server's user may read:  users = { alice = "wonderland" }
      --
      -- Peers may have the way to them measured, as Flash players and SRS's pages do ("Bandwidth tests"):
      -- enableCheckBandwidth = true,
      -- bandcheck = { key = "…" },  -- what their addresses must have as `key`
      --
      -- Shared objects that outlive their clients ("Shared objects"):
      -- sharedObjects = { persistent = true, folder = "/var/lib/crtmpserver/objects" },
    },
  },
}
