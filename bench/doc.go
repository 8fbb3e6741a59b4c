// Package bench holds the benchmark of many streams through one owagent and one
// owampd. Beside it are compare, which runs both suites side by side, and guard,
// which watches the hot path. Benchmarks of single pieces stay beside their code.
package bench
