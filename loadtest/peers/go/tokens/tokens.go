// Package tokens verifies the clients' tokens: JWT signed with HS256, with `exp` and `user_id`.
package tokens

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"
)

// Verifier verifies tokens that one secret has signed.
type Verifier struct{ secret []byte }

var errToken = errors.New("not a valid token")

// FromFile reads the secret.
func FromFile(path string) (Verifier, error) {
	secret, err := os.ReadFile(path)
	return Verifier{bytes.TrimRight(secret, "\r\n")}, err
}

// User returns the user of a token.
func (v Verifier) User(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errToken
	}
	given, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return "", errToken
	}
	mac := hmac.New(sha256.New, v.secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if !hmac.Equal(given, mac.Sum(nil)) {
		return "", errToken
	}
	var head struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Exp  int64       `json:"exp"`
		User json.Number `json:"user_id"`
	}
	if decode(parts[0], &head) != nil || head.Alg != "HS256" || decode(parts[1], &claims) != nil {
		return "", errToken
	}
	if claims.Exp <= time.Now().Unix() || claims.User == "" {
		return "", errToken
	}
	return claims.User.String(), nil
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
