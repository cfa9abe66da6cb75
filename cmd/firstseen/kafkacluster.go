package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// passwordEnv holds a password where no file does: a command line is seen by all.
const passwordEnv = "FIRSTSEEN_KAFKA_PASSWORD"

// clusterFlags say how a Kafka cluster is reached.
type clusterFlags struct {
	brokers  []string
	tls      bool
	ca       string
	cert     string
	key      string
	sasl     choice
	user     string
	password string // the file
}

func (c *clusterFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	c.sasl = choice{words: []string{"plain", "scram-sha-256", "scram-sha-512"}}
	f.StringSliceVar(&c.brokers, "brokers", nil, "`HOST:PORT`,... of some brokers of the cluster")
	f.BoolVar(&c.tls, "tls", false, "talk TLS to the brokers")
	f.StringVar(&c.ca, "tls-ca", "", "PEM `FILE` of the certificates to trust (default the system's)")
	f.StringVar(&c.cert, "tls-cert", "", "PEM `FILE` of this client's certificate")
	f.StringVar(&c.key, "tls-key", "", "PEM `FILE` of its key")
	f.Var(&c.sasl, "sasl", "how to authenticate")
	f.StringVar(&c.user, "user", "", "`NAME` to authenticate as")
	f.StringVar(&c.password, "password-file", "", "`FILE` that holds the password")
}

// options returns what a client is made of.
func (c *clusterFlags) options() ([]kgo.Opt, error) {
	switch {
	case len(c.brokers) == 0:
		return nil, usagef("--brokers is missing")
	case !c.tls && (c.ca != "" || c.cert != "" || c.key != ""):
		return nil, usagef("--tls-ca, --tls-cert and --tls-key are for --tls, which is not given")
	case (c.cert == "") != (c.key == ""):
		return nil, usagef("--tls-cert and --tls-key belong together")
	case (c.sasl.value == "") != (c.user == ""):
		return nil, usagef("--sasl and --user belong together")
	case c.password != "" && c.sasl.value == "":
		return nil, usagef("--password-file is for --sasl, which is not given")
	}
	opts := []kgo.Opt{kgo.SeedBrokers(c.brokers...), kgo.ClientID("firstseen")}
	if c.tls {
		config, err := c.tlsConfig()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	if c.sasl.value == "" {
		return opts, nil
	}
	password, err := c.readPassword()
	if err != nil {
		return nil, err
	}
	switch c.sasl.value {
	case "plain":
		opts = append(opts, kgo.SASL(plain.Auth{User: c.user, Pass: password}.AsMechanism()))
	case "scram-sha-256":
		opts = append(opts, kgo.SASL(scram.Auth{User: c.user, Pass: password}.AsSha256Mechanism()))
	case "scram-sha-512":
		opts = append(opts, kgo.SASL(scram.Auth{User: c.user, Pass: password}.AsSha512Mechanism()))
	}
	return opts, nil
}

func (c *clusterFlags) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		text, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("the certificates to trust can't be read: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("there is no PEM certificate in %s", c.ca)
		}
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("this client's certificate can't be used: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func (c *clusterFlags) readPassword() (string, error) {
	if c.password == "" {
		password := os.Getenv(passwordEnv)
		if password == "" {
			return "", usagef("--sasl needs a password: --password-file, or %s in the environment", passwordEnv)
		}
		return password, nil
	}
	text, err := os.ReadFile(c.password)
	if err != nil {
		return "", fmt.Errorf("the password can't be read: %w", err)
	}
	if text = bytes.TrimRight(text, "\r\n"); len(text) == 0 {
		return "", fmt.Errorf("there is no password in %s", c.password)
	}
	return string(text), nil
}
