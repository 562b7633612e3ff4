-- The example server of BLS's README, in Lua.
local publishing = {}
events = {}

local function note(...) events[#events + 1] = table.concat({ ... }, " ") end

function on_accept(client)
  note("come on", client.id)
  client:accept()
end

function on_connect(client, info)
  note("connect", info.app, info.custom or "-")
  client:accept()
  client:call("needResult", { {}, { data = 66 } }, function(flag, args)
    note("result", flag, tostring(args[2]))
  end)
end

function on_close(client, reason)
  note("close", reason, tostring(client:is_closed()))
  if client.publish_stream_name then publishing[client.publish_stream_name] = nil end
end

function on_publish(client, trans_id, name)
  if publishing[name] then return client:close() end
  client:publish(trans_id, name .. "-renamed")
  publishing[name] = true
  client.publish_stream_name = name
end

function on_play(client, trans_id, name)
  if not publishing[name] then
    sleep(1) -- a play that waits for its source
  end
  if publishing[name] then client:play(trans_id, name .. "-renamed") else client:close() end
end

function on_metadata(client, meta, name) note("meta", name, meta.width) end
function on_unplay(client, name) note("unplay", name) end
function on_play_stop(client, name) note("play stop", name) end
function on_unpublish(client, name) note("unpublish", name) end
function on_pong(client, delay, received) note("pong", delay, received) end

function on_message(client, trans_id, name, object, data)
  note("message", name, tostring(data))
  if name == "customCmd" then client:result("_result", trans_id, { json.null, "result data" }) end
  if name == "watch" then
    client:enable_av_cb(function(kind, time, is_sh, is_key, bytes)
      note(kind, time, tostring(is_sh), tostring(is_key), #bytes)
    end)
    timer.after(5, function() client:disable_av_cb() end)
    return #(client:get_avc_sh() or "")
  end
end

server.add_command("events", { read_only = true, params = { { name = "from", type = "whole", default = 1 } } },
  function(params) return { table.unpack(events, params.from) } end)

function test_a_stream_is_published_once()
  local one, two = test.client(), test.client({ app = "live" })
  assert(test.connect(one, { app = "live" }).accepted)
  assert(test.publish(one, "news").name == "news-renamed")
  assert(test.publish(two, "news") == nil)
end

function test_that_fails() error("on purpose") end
