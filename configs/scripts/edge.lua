-- An edge server: plays the streams that it has, and pulls from the origin those that it has not. This is the example
-- of BLS's README; docs/lua.md says what its words mean. What is new in it: players that wait for the same stream
-- share one pull, a stream that has ended is pulled anew when somebody wants it again, and what must not be forgotten
-- when this file is loaded again stands in `shared` and in fields of clients.

local ORIGIN = { ip = "127.0.0.1", port = 8956, app = "live" }

shared.here = shared.here or {} -- streams that somebody publishes, at the origin or here
local edged_stream = {}         -- streams that are pulled, with their connections
local waiting = {}              -- who waits for a stream, by its name

local pull_stream_from_src

function on_stream(stream_name, live) shared.here[stream_name] = live or nil end

-- a stream of the origin has ended, and the connection with it
function on_unpublish(client)
  if client.edges then client:close() end
end

function on_play(client, trans_id, stream_name)
  -- if the stream has been pulled from the origin, or is published here, it can be played directly
  if shared.here[stream_name] or edged_stream[stream_name] then
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

    edge_connect.edges = stream_name
    edge_connect:on("close", function()
      log.info("edge for " .. stream_name .. " close")
      if edged_stream[stream_name] == edge_connect then edged_stream[stream_name] = nil end
      finish(false)
    end)

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
