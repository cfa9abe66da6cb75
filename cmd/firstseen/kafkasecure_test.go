package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/servertest"
)

// certificate writes a certificate for 127.0.0.1 that signs itself, and a key store
// with it and its key.
func certificate(t *testing.T) (cert, store string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cert, store = filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "store.pem")
	if err := os.WriteFile(cert, public, 0o600); err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), public...)
	if err := os.WriteFile(store, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return cert, store
}

// TestKafkaCommandSecure: TLS and each kind of SASL, the wrong password and a
// certificate that nobody trusts.
func TestKafkaCommandSecure(t *testing.T) {
	cert, store := certificate(t)
	server := servertest.Start(t, servertest.Kafka, "secure", store)
	brokers := server.Env("KAFKA_BROKERS")
	kafkaTopics(t, brokers, "orders")
	if err := kafkaClient(t, brokers).ProduceSync(t.Context(), kafkaRecords("orders", 100)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	secret := write(t, []byte("secret\n"))
	with := func(mechanism, password, ca string) []string {
		flags := []string{"--brokers", server.Env("KAFKA_SECURE"), "--tls", "--sasl", mechanism, "--user", "dedup", "--password-file", password}
		if ca != "" {
			flags = append(flags, "--tls-ca", ca)
		}
		return flags
	}
	n := startKafka(t, append(with("scram-sha-512", secret, cert), "--from", "orders", "--to", "orders-once", "--group", "g")...)
	readKafka(t, brokers, "orders-once", 100)
	if s := n.stop(t); s.Fresh != 100 || s.Duplicate != 10 {
		t.Errorf("%+v", s)
	}
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		out := must(t, nil, append([]string{"kafka", "marks", "--topic", "orders-marks"}, with(mechanism, secret, cert)...)...)
		if !strings.Contains(out, "all") || !strings.Contains(out, "100") {
			t.Errorf("%s: %s", mechanism, out)
		}
	}
	wrong := write(t, []byte("wrong"))
	for want, flags := range map[string][]string{
		"SASL_AUTHENTICATION_FAILED": with("scram-sha-256", wrong, cert),
		"certificate":                with("plain", secret, ""),
	} {
		r := firstseen(t, nil, append([]string{"kafka", "marks", "--topic", "orders-marks"}, flags...)...)
		if r.code != 1 || !strings.Contains(r.err, want) {
			t.Errorf("exit code %d, %q, want %q", r.code, r.err, want)
		}
	}
}
