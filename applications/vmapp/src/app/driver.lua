-- The table `test`: hooks as the server would call them. Each function returns how the request was answered, as a
-- table, or nil while it is not.
local new_client, begin, finish, forget, own_command = ...

local function ask(kind, hook, client, ...)
  local id = begin(kind, client)
  if not _G[hook] then return finish(id, true) end
  if kind == "connect" or kind == "accept" then return finish(id, _G[hook](client, ...)) end
  return finish(id, _G[hook](client, id, ...))
end

return {
  client = function(fields) return new_client(fields) end,
  connect = function(client, info) return ask("connect", "on_connect", client, info or {}) end,
  publish = function(client, name, query) return ask("publish", "on_publish", client, name, query or "") end,
  play = function(client, name, query) return ask("play", "on_play", client, name, query or "") end,
  shared_object = function(client, name, wishes, persistent)
    return ask("shared_object", "on_shared_object", client, name, persistent or false, wishes)
  end,
  message = function(client, name, ...)
    local own = own_command(client, name)
    if own then
      local id = begin("message", client)
      return finish(id, own(id, ...))
    end
    if not on_message then return nil end
    return ask("message", "on_message", client, name, ...)
  end,
  close = function(client, reason)
    local own = forget(client)
    reason = reason or "closed by the peer"
    if own then own(reason) elseif on_close then on_close(client, reason) end
  end,
}
