-- As little as it takes: one application on a port that the system chooses. The table of services shows which.

configuration = {
  logAppenders = { { type = "console" } },
  applications = {
    rootDirectory = "applications",
    {
      name = "flvplayback",
      default = true,
      acceptors = { { ip = "127.0.0.1", port = 0, protocol = "inboundRtmp" } },
    },
  },
}
