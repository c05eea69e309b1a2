package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// Who may call the API server. The harness, and the adapter when it runs with all rights, are users of their own,
// so that their calls can be told apart; alice and bob may do nothing until a test grants them something.
var users = []struct {
	name   string
	master bool
}{
	{"admin", true}, {"adapter", true}, {"alice", false}, {"bob", false},
	{"harness", true}, {"controllers", true}, {"scheduler", true}, {"kubelets", true},
}

// The control plane's own chatter is not logged: nobody counts it.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [harness, controllers, scheduler, kubelets, "system:apiserver"]
- level: Metadata
`

// writeFiles writes keys, certificates, tokens and one kubeconfig per user, and returns the tokens.
func (plane *Plane) writeFiles() (map[string]string, error) {
	authority, err := plane.writeCertificates()
	if err != nil {
		return nil, err
	}
	tokens := map[string]string{}
	var table strings.Builder
	for _, user := range users {
		// A token of this run only: another run's API server on our port refuses it, and we notice.
		token := user.name + "-" + strings.ToLower(rand.Text())
		groups := ""
		if user.master {
			groups = "system:masters"
		}
		fmt.Fprintf(&table, "%s,%s,%s,%s\n", token, user.name, user.name, groups)
		tokens[user.name] = token
		if err := plane.write(user.name+".kubeconfig", []byte(kubeconfig(plane.server(), authority, user.name, token))); err != nil {
			return nil, err
		}
	}
	if err := plane.write("audit.yaml", []byte(auditPolicy)); err != nil {
		return nil, err
	}
	return tokens, plane.write("tokens.csv", []byte(table.String()))
}

// writeCertificates makes an authority and the API server's certificate, and the key that signs service accounts' tokens.
func (plane *Plane) writeCertificates() ([]byte, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test control plane"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		// Processes of the host, and containers of a node through the Service "kubernetes".
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(machineAddress), net.ParseIP(apiService)},
		DNSNames:    []string{"localhost", "kubernetes.default.svc"},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf, err := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	if err != nil {
		return nil, err
	}
	accountsKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	for name, content := range map[string]func() ([]byte, error){
		"ca.crt":       func() ([]byte, error) { return certificate, nil },
		"server.crt":   func() ([]byte, error) { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), nil },
		"server.key":   func() ([]byte, error) { return keyText(serverKey) },
		"accounts.key": func() ([]byte, error) { return keyText(accountsKey) },
	} {
		text, err := content()
		if err != nil {
			return nil, err
		}
		if err := plane.write(name, text); err != nil {
			return nil, err
		}
	}
	return certificate, nil
}

func keyText(key *ecdsa.PrivateKey) ([]byte, error) {
	bytes, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: bytes}), err
}

func kubeconfig(server string, authority []byte, user, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: %[3]s, user: {token: %[4]s}}]
contexts: [{name: test, context: {cluster: test, user: %[3]s}}]
current-context: test
`, server, base64.StdEncoding.EncodeToString(authority), user, token)
}

func (plane *Plane) write(name string, content []byte) error {
	return os.WriteFile(plane.file(name), content, 0o600)
}
