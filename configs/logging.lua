-- Every kind of log appender. The files go to the folder LOG_FOLDER of the environment, else to that for
-- temporary files, and begin with the name of the user, so that each user has files of their own.

local folder = os.getenv("LOG_FOLDER") or os.getenv("TMPDIR") or "/tmp"
local files = folder .. "/" .. (os.getenv("USER") or "crtmpserver")

configuration = {
  logAppenders = {
    -- INFO and more urgent for people, in colours if it is a terminal.
    { name = "terminal", type = "coloredConsole", level = 3 },

    -- All of it in files of 1 MiB, the newest five of them. `.1` is the newest of the old ones.
    {
      name = "everything",
      type = "file",
      level = 6,
      fileName = files .. ".log",
      fileLength = 1024 * 1024,
      fileHistorySize = 5,
      singleLine = true,
      newLineCharacters = "\n",
    },

    -- For programs: one JSON object a line.
    { name = "objects", type = "json", level = 4, fileName = files .. ".json" },

    -- Warnings alone. SIGHUP reopens the file after `logrotate` has moved it.
    { name = "warnings", type = "file", specificLevel = 2, fileName = files .. "-warnings.log" },
  },

  applications = {
    rootDirectory = "applications",
    {
      name = "flvplayback",
      default = true,
      acceptors = { { ip = "127.0.0.1", port = 0, protocol = "inboundRtmp" } },
    },
  },
}
