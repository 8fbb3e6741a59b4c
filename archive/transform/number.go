package transform

import (
	"embed"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

//go:embed modules/*.jq
var sources embed.FS

// maxDigits bounds the integers that are kept as they are.
const maxDigits = 64

// number returns n as gojq has it.
func number(n json.Number) (any, error) {
	s := n.String()
	if len(s) <= maxDigits && !strings.ContainsAny(s, ".eE") {
		if i, err := n.Int64(); err == nil && int64(int(i)) == i {
			return int(i), nil
		}
		if i, ok := new(big.Int).SetString(s, 10); ok {
			return i, nil
		}
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("number %.*s: want one that fits 64 bits", maxDigits, s)
	}
	return f, nil
}
