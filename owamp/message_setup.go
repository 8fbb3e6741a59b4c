package owamp

import "encoding/binary"

// SetUpResponseSize is the length of a Set-Up-Response in octets.
const SetUpResponseSize = 164

// A SetUpResponse is the client's answer to the greeting, in clear (RFC 4656
// section 3.1):
//
//	  0  Mode   u32
//	  4  KeyID[80]
//	 84  Token[64]
//	148  Client-IV[16]
//
// In open mode all that follows Mode is zero.
type SetUpResponse struct {
	Mode  Mode     // the one that the client chose
	KeyID [80]byte // UTF-8, filled up with zeros
	Token [64]byte
	IV    [16]byte
}

// Append appends the 164 octets of r to b.
func (r *SetUpResponse) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(r.Mode))
	b = append(b, r.KeyID[:]...)
	b = append(b, r.Token[:]...)
	return append(b, r.IV[:]...)
}

// ParseSetUpResponse reads a Set-Up-Response; whether its mode is one that was
// offered is for the caller to say.
func ParseSetUpResponse(b *[SetUpResponseSize]byte) SetUpResponse {
	return SetUpResponse{
		Mode:  Mode(binary.BigEndian.Uint32(b[0:])),
		KeyID: [80]byte(b[4:]),
		Token: [64]byte(b[84:]),
		IV:    [16]byte(b[148:]),
	}
}
