-- A cluster of two, in one server to try it out: the origin at rtmp://<this machine>:8956/live/<name>, and an edge
-- server at port 8900, which pulls from the origin what its players ask for. For two machines take the blocks apart, and
-- write the origin's address into configs/scripts/edge.lua. The script's path starts at the folder in which the server is
-- started: the root of this tree.

configuration = {
  logAppenders = {
    { name = "console", type = "coloredConsole", level = 3 },
  },

  applications = {
    rootDirectory = "applications",

    -- The origin.
    {
      name = "flvplayback",
      aliases = { "live" },
      default = true,
      acceptors = { { ip = "127.0.0.1", port = 8956, protocol = "inboundRtmp" } },
    },

    -- The edge.
    {
      name = "edge",
      library = "vmapp",
      script = "configs/scripts/edge.lua",
      acceptors = { { ip = "0.0.0.0", port = 8900, protocol = "inboundRtmp" } },
    },
  },
}
