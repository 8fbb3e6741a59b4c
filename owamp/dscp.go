package owamp

import (
	"fmt"
	"strconv"
	"strings"
)

// maxDSCP is the greatest differentiated services code point: 6 bits.
const maxDSCP = 0x3f

// ParseDSCP reads a differentiated services code point as the -D options write
// it, in either case: a number up to 0x3f, decimal, octal (0…) or hexadecimal
// (0x…), or a name: none, default or DF (0), CS0 to CS7 (RFC 2474), AF11 to
// AF43 (RFC 2597), EF (RFC 3246).
func ParseDSCP(s string) (uint8, error) {
	name := strings.ToUpper(s)
	switch name {
	case "NONE", "DEFAULT", "DF":
		return 0, nil
	case "EF":
		return 0x2e, nil
	}
	switch {
	case len(name) == 3 && name[:2] == "CS" && '0' <= name[2] && name[2] <= '7':
		return (name[2] - '0') << 3, nil
	case len(name) == 4 && name[:2] == "AF" && '1' <= name[2] && name[2] <= '4' && '1' <= name[3] && name[3] <= '3':
		return (name[2]-'0')<<3 | (name[3]-'0')<<1, nil
	}
	// An underscore is Go's, no user's, way to write a number.
	if n, err := strconv.ParseUint(s, 0, 8); err == nil && n <= maxDSCP && !strings.Contains(s, "_") {
		return uint8(n), nil
	}
	return 0, fmt.Errorf("DSCP %q: want a number from 0 to 0x3f, or none, default, DF, EF, CS0 to CS7 or AF11 to AF43", s)
}
