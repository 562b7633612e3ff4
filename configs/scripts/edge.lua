-- An edge server: plays the streams that it has, and pulls from the origin those that it has not. This is the example
-- of BLS's README; docs/lua.md says what its words mean. What is new in it: players that wait for the same stream
-- share one pull, and a stream that has ended is pulled anew when somebody wants it again.

local ORIGIN = { ip = "127.0.0.1", port = 8956, app = "live" }

local here = {}         -- streams that somebody publishes, here or at the origin
local edged_stream = {} -- streams that are pulled, with their connections
local waiting = {}      -- who waits for a stream, by its name

local pull_stream_from_src

function on_stream(stream_name, live) here[stream_name] = live or nil end

function on_play(client, trans_id, stream_name)
  -- if the stream has been pulled from the origin, or is published here, it can be played directly
  if here[stream_name] or edged_stream[stream_name] then
    client:play(trans_id, stream_name)
    return
  end
  log.info("need pull from src host: " .. stream_name)
  pull_stream_from_src(stream_name, function(res)
    if res then
      client:play(trans_id, stream_name) -- false where the player has left meanwhile
    else
      log.info("pull stream fail: " .. stream_name)
      client:close()
    end
  end)
end

function pull_stream_from_src(stream_name, cb_func)
  if waiting[stream_name] then
    table.insert(waiting[stream_name], cb_func)
    return
  end
  local all = { cb_func }
  waiting[stream_name] = all
  local function finish(res) -- whatever comes first counts
    if waiting[stream_name] ~= all then return end
    waiting[stream_name] = nil
    for _, waits in ipairs(all) do waits(res) end
  end

  -- connect to the origin first
  remote_connect(ORIGIN.ip, ORIGIN.port, function(edge_connect)
    if not edge_connect then
      log.info("connect remote server fail")
      return finish(false)
    end

    edge_connect:on("close", function()
      log.info("edge for " .. stream_name .. " close")
      if edged_stream[stream_name] == edge_connect then edged_stream[stream_name] = nil end
      finish(false)
    end)
    edge_connect:on("unpublish", function() edge_connect:close() end)

    -- what else the origin is to know may stand beside `app`
    edge_connect:connect({ app = ORIGIN.app, info = "custom info" }, function(flag)
      if flag ~= "_result" then return end -- it closes by itself
      edge_connect:edge(stream_name, function()
        -- as in BLS, not called where the stream is not to be had: then the connection is closed
        log.info("edge complete: " .. stream_name)
        edged_stream[stream_name] = edge_connect
        finish(true)
      end)
    end)
  end)
end

function test_players_are_asked_for_what_is_here()
  on_stream("news", true)
  assert(test.play(test.client(), "news").name == "news")
end
