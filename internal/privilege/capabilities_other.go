//go:build !linux

package privilege

// capNetRaw is no capability: there are none.
const capNetRaw = 0

// dropCapabilities does nothing.
func dropCapabilities(uint) error { return nil }

// keepCapabilities does nothing.
func keepCapabilities() error { return nil }

// allowRealTime does nothing.
func allowRealTime() error { return nil }
