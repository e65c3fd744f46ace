-- GET <target>?id=… with the ids that http.mjs wrote into the database, at random. Arguments: how many, the first one's milliseconds.
local n, start, target = 1, 0, "/status"
function init(args)
  n, start = tonumber(args[1]), tonumber(args[2])
  target = wrk.path
  math.randomseed(os.time())
end
function request()
  local i = math.random(0, n - 1)
  local ms, x = start + i * 1000, (i * 2654435761) % 4294967296
  local id = string.format("%08x-%04x-7%03x-8%03x-%04x%08x", math.floor(ms / 65536), ms % 65536, x % 4096, math.floor(x / 4096) % 4096, 0, x)
  return wrk.format("GET", target .. "?id=" .. id)
end
