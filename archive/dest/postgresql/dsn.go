package postgresql

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"owl/archive/atfile"
)

// application is what sessions are called that have no other name.
const application = "owl"

// errDSN tells nothing of the DSN, which may have a password in it.
var errDSN = errors.New("want keyword=value pairs, or a URL postgresql://…, as libpq has them")

// unsupported are parameters of libpq that there is nothing for here, and that the
// server would not know either.
var unsupported = []string{
	"gssdelegation", "gssencmode", "gsslib", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
	"keepalives_interval", "load_balance_hosts", "requirepeer", "scram_client_key", "scram_server_key",
	"ssl_max_protocol_version", "ssl_min_protocol_version", "sslcompression", "sslcrl", "sslcrldir", "tcp_user_timeout",
}

// configure reads a DSN, which may be @FILE. What it does not say comes from where
// libpq takes it: the PG… variables of the environment, the service file, and the
// password file.
func configure(dsn string) (*pgconn.Config, error) {
	text, err := atfile.Read(dsn)
	if err != nil {
		return nil, err
	}
	c, err := pgconn.ParseConfig(text)
	emptied := text == "" && dsn != "" // a file, which does not mean what libpq does without a DSN
	if err != nil || emptied {
		return nil, errDSN
	}
	for _, name := range unsupported {
		if _, is := c.RuntimeParams[name]; is {
			return nil, fmt.Errorf("parameter %s is not supported", name)
		}
	}
	fallback := c.RuntimeParams["fallback_application_name"]
	delete(c.RuntimeParams, "fallback_application_name")
	if fallback == "" {
		fallback = application
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = fallback
	}
	// JSON is UTF-8, whatever the database has.
	c.RuntimeParams["client_encoding"] = "UTF8"
	c.MaxProtocolMessageBodyLen = maxAnswer
	return c, nil
}
