//! What Redis does in one go. All keys of a namespace are in one slot.
//!
//! A key is one window of one caller: pairs of a bucket's number (6 bytes) and its count (4 bytes). A permit counts in the bucket of the
//! latest moment at which it may be used.

use std::sync::LazyLock;

use redis::Script;

/// Takes for many callers. KEYS: a window each. ARGV: the shapes, the divisor, then one entry for each key.
///
/// A shape is limit, window, bucket, life of a single permit, life of a lease. An entry is flags (1: the last window of a
/// want, 2: the last of its group, 4: its group needs the one before), shape, at least, at most, and what is owed. The
/// wants of a group are granted together or not at all; what is owed is counted in any case.
/// -> per want: granted, stamp, free, wait, window
pub(super) static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local unpack, pack, sub, floor = struct.unpack, struct.pack, string.sub, math.floor
local get, set = 'GET', 'SET'
local shapes, divisor = ARGV[1], tonumber(ARGV[2])
local out, n, at = {}, 0, 1
local texts, sums = {}, {}
local before = true

local function shape_of(entry)
  local flags, shape, least, most, owed = unpack('<BI2I4I4I4', entry)
  local limit, window, bucket, single, lease = unpack('<I4I8I4I4I4', shapes, shape * 24 + 1)
  return flags, least, most, owed, limit, window, bucket, single, lease
end

local function add(text, bucket, count)
  for p = #text - 9, 1, -10 do
    local number, had = unpack('<I6I4', text, p)
    if number == bucket then
      return sub(text, 1, p - 1) .. pack('<I6I4', bucket, had + count) .. sub(text, p + 10)
    end
  end
  return text .. pack('<I6I4', bucket, count)
end

local function waits(text, over, bucket, window)
  local pairs_ = {}
  for p = 1, #text, 10 do
    local number, count = unpack('<I6I4', text, p)
    pairs_[#pairs_ + 1] = {number, count}
  end
  table.sort(pairs_, function(a, b) return a[1] < b[1] end)
  for _, pair in ipairs(pairs_) do
    over = over - pair[2]
    if over <= 0 then return (pair[1] + 1) * bucket + window - now end
  end
  return window
end

while at <= #KEYS do
  local first, granted, wants = at, true, {}
  local free, window_in_way, wait, index = math.huge, 0, 0, 0
  local last = false
  while not last do
    local flags, least, most, owed, limit, window, bucket = shape_of(ARGV[at + 2])
    if flags >= 4 then
      flags = flags - 4
      granted = granted and before
    end
    local text = redis.call(get, KEYS[at]) or ''
    local oldest, sum, start = floor((now - window) / bucket), 0, nil
    for p = 1, #text, 10 do
      local number, count = unpack('<I6I4', text, p)
      if number >= oldest then
        sum = sum + count
        start = start or p
      end
    end
    if start ~= 1 then text = start and sub(text, start) or '' end
    texts[at], sums[at] = text, sum
    local here = limit - sum - owed
    if here < free then free = here end
    if here < least then
      local needs = waits(text, least - here, bucket, window)
      if needs > wait then wait, window_in_way = needs, index end
    end
    index = index + 1
    if flags % 2 == 1 then
      local grant = most
      if most > least then
        grant = floor(free / divisor)
        if grant > most then grant = most end
        if grant < least then grant = least end
      end
      wants[#wants + 1] = {grant, free, wait, window_in_way}
      if free < least then granted = false end
      free, window_in_way, wait, index = math.huge, 0, 0, 0
    end
    last = flags >= 2
    at = at + 1
  end
  local want = 1
  local stamp = 0
  for i = first, at - 1 do
    local flags, least, most, owed, limit, window, bucket, single, lease = shape_of(ARGV[i + 2])
    local grant = granted and wants[want][1] or 0
    local life = grant > least and lease or single
    stamp = now + life
    local text = texts[i]
    if grant + owed > 0 then
      if grant > 0 then text = add(text, floor(stamp / bucket), grant) end
      if owed > 0 then text = add(text, floor((now + single) / bucket), owed) end
      redis.call(set, KEYS[i], text, 'PX', window + bucket + bucket + lease + 1000)
    end
    if flags % 2 == 1 then
      local told = wants[want]
      out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = grant, stamp, told[2] - grant, told[3], told[4]
      n, want = n + 5, want + 1
    end
  end
  before = granted
end
return out",
    )
});

/// Gives back what was not used. KEYS: a window each. ARGV: for each the bucket and the count.
pub(super) static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
for i = 1, #KEYS do
  local text = redis.call('GET', KEYS[i])
  local bucket, back = struct.unpack('<I6I4', ARGV[i])
  if text then
    for p = #text - 9, 1, -10 do
      local number, count = struct.unpack('<I6I4', text, p)
      if number == bucket then
        local left = math.max(count - back, 0)
        text = string.sub(text, 1, p - 1) .. struct.pack('<I6I4', bucket, left) .. string.sub(text, p + 10)
        redis.call('SET', KEYS[i], text, 'KEEPTTL')
        break
      end
    end
  end
end
return redis.status_reply('OK')",
    )
});

/// Says that an instance is there. KEYS: the instances. ARGV: its name, how long it is remembered.
/// -> how many there are
pub(super) static PRESENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local now = redis.call('TIME')[1] * 1
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], 10 * tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])",
    )
});
