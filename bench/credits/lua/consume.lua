-- One consume a request, each with a key of its own. The API key is in BENCH_API_KEY. Arguments: how many tenants, a seed.
-- A request is written by one call of string.format: what the generator takes of the cores, the service cannot have.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local BODY = '{"tenant_id":"org-%05d","amount":1,"description":"API call charge","reference":"req-abc123",'
  .. '"idempotency_key":"%08x-%04x-4%03x-%x%03x-%06x%06x"}'

function init(args)
  tenants = tonumber(args[1])
  math.randomseed(tonumber(args[2]) * 1000 + number)
  local length = #string.format(BODY, 0, 0, 0, 0, 8, 0, 0, 0)
  form = "POST /credits/consume HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\nAuthorization: Bearer "
    .. os.getenv("BENCH_API_KEY"):gsub("%%", "%%%%") .. "\r\nContent-Type: application/json\r\nContent-Length: "
    .. length .. "\r\n\r\n" .. BODY
end

function request()
  local random = math.random
  return string.format(form, random(0, tenants - 1), random(0, 0x7fffffff), random(0, 0xffff), random(0, 0xfff),
    random(8, 11), random(0, 0xfff), random(0, 0xffffff), random(0, 0xffffff))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %f %f\n", summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
