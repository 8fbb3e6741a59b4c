# Numbers with the prefixes of units: k, M, G, ..., and ki, Mi, Gi, ...

def invalid(value):
  error("\(value | tojson): want a number, which may have a prefix such as k or Mi");

# multiplier("k") is 1000, multiplier("ki") 1024, multiplier("") 1.
def multiplier(prefix):
  (prefix | ascii_downcase) as $p
  | ("kmgtpezy" | index($p[0:1])) as $power
  | if $p == "" then 1
    elif $power == null or ($p[1:] | . != "" and . != "i") then invalid(prefix)
    else reduce range($power + 1) as $i (1; . * (if $p[1:] == "i" then 1024 else 1000 end))
    end;

# as_integer("12ki") is 12288. A number is as it is.
def as_integer(value):
  value
  | if type == "number" then .
    elif type != "string" then invalid(value)
    else
      (capture("^(?<n>[-+]?[0-9]+(?:[.][0-9]+)?)[ ]*(?<p>[A-Za-z]*)$") // invalid(value))
      | multiplier(.p) as $by
      | .n | ltrimstr("+") | tonumber * $by | floor
    end;
