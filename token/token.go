package token

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/keys"
)

// Errors of Redeem and Key. A token that somebody is redeeming at the moment is
// dedup.ErrInFlight.
var (
	// ErrForged: the text is not a token that one of the keys has made for this
	// subject and operation.
	ErrForged = errors.New("token: forged, or issued for something else")
	// ErrExpired: the token's time has ended.
	ErrExpired = errors.New("token: expired")
	// ErrRedeemed: the token was redeemed and committed. It comes with the claim,
	// which has the result that was kept.
	ErrRedeemed = errors.New("token: already redeemed")
	// ErrTTL: the time asked for, or the one that a token has left, is not within
	// the guard's window. Nobody would remember that the token was redeemed.
	ErrTTL = errors.New("token: longer than the guard's window")
)

const (
	version    = 1
	keyAt      = 1
	expiresAt  = 5
	randomAt   = 13
	macAt      = 29
	size       = macAt + sha256.Size
	domain     = "firstseen token"
	minimalKey = 32 // bytes: what HMAC-SHA-256 has to offer
)

// A Key signs tokens.
type Key struct {
	ID     uint32 // in every token; never used for another secret
	Secret []byte // at least 32 random bytes
}

// Options of an Issuer.
type Options struct {
	// Keys: the first one signs, all of them are accepted. At least one.
	Keys []Key
	// Window is the guard's window: no token may live longer. Required.
	Window time.Duration
	// Now is the clock; by default time.Now.
	Now func() time.Time
}

// An Issuer issues tokens and redeems them.
type Issuer struct {
	signing uint32
	secrets map[uint32][]byte
	window  time.Duration
	now     func() time.Time
}

// New returns an Issuer. Its error names all that is wrong with opts.
func New(opts Options) (*Issuer, error) {
	s := &Issuer{secrets: make(map[uint32][]byte), window: opts.Window, now: opts.Now}
	var errs []error
	for i, k := range opts.Keys {
		if len(k.Secret) < minimalKey {
			errs = append(errs, fmt.Errorf("token: the secret of key %d has %d bytes, needed are %d", k.ID, len(k.Secret), minimalKey))
		}
		if s.secrets[k.ID] != nil {
			errs = append(errs, fmt.Errorf("token: two keys have the id %d", k.ID))
		}
		if i == 0 {
			s.signing = k.ID
		}
		s.secrets[k.ID] = append([]byte{}, k.Secret...)
	}
	if len(opts.Keys) == 0 {
		errs = append(errs, errors.New("token: no keys"))
	}
	if opts.Window <= 0 {
		errs = append(errs, fmt.Errorf("token: the guard's window is %v", opts.Window))
	}
	if s.now == nil {
		s.now = time.Now
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// Issue returns a new token, which allows subject to do operation once within
// ttl. A ttl that is not above zero and within the window gives ErrTTL.
func (s *Issuer) Issue(subject, operation string, ttl time.Duration) (string, error) {
	if ttl <= 0 || ttl > s.window {
		return "", fmt.Errorf("%w: %v asked for, the window is %v", ErrTTL, ttl, s.window)
	}
	b := make([]byte, size)
	b[0] = version
	binary.BigEndian.PutUint32(b[keyAt:], s.signing)
	binary.BigEndian.PutUint64(b[expiresAt:], uint64(s.now().Add(ttl).UnixMilli()))
	rand.Read(b[randomAt:macAt]) //nolint:errcheck // crypto/rand never returns an error
	copy(b[macAt:], mac(s.secrets[s.signing], b[:macAt], subject, operation))
	return encoding.EncodeToString(b), nil
}

// encoding has one text for each token.
var encoding = base64.RawURLEncoding.Strict()

func mac(secret, head []byte, subject, operation string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(domain))
	h.Write(head)
	h.Write(keys.Join(subject, operation))
	return h.Sum(nil)
}

// Key verifies a token and returns its key in the guard, for dedup.Do:
//
//	key, err := issuer.Key(text, user, "pay")
//	if err != nil { … }
//	answer, err := dedup.Do(ctx, guard, key, pay, dedup.DoOptions{})
//
// Errors: ErrForged, ErrExpired, ErrTTL.
func (s *Issuer) Key(text, subject, operation string) ([]byte, error) {
	if len(text) != encoding.EncodedLen(size) {
		return nil, ErrForged
	}
	b, err := encoding.DecodeString(text)
	if err != nil || len(b) != size || b[0] != version {
		return nil, ErrForged
	}
	secret := s.secrets[binary.BigEndian.Uint32(b[keyAt:])]
	if secret == nil || !hmac.Equal(b[macAt:], mac(secret, b[:macAt], subject, operation)) {
		return nil, ErrForged
	}
	left := time.UnixMilli(int64(binary.BigEndian.Uint64(b[expiresAt:]))).Sub(s.now())
	switch {
	case left <= 0:
		return nil, ErrExpired
	case left > s.window:
		return nil, fmt.Errorf("%w: %v left, the window is %v", ErrTTL, left, s.window)
	}
	return keys.Append(keys.Join(domain), slices.Clip(b[randomAt:macAt])), nil
}

// Redeem claims a token. The one who gets a claim without an error does the
// operation, then calls g.Commit, with claim.Result if the others shall see one, or
// g.Release when it failed.
//
// Errors: ErrForged, ErrExpired, ErrTTL; dedup.ErrInFlight (with the other's
// claim, which says when its lease ends); ErrRedeemed (with the claim and its
// result); dedup.ErrUnknown and all errors of the guard.
func (s *Issuer) Redeem(ctx context.Context, g dedup.Guard, text, subject, operation string) (dedup.Claim, error) {
	key, err := s.Key(text, subject, operation)
	if err != nil {
		return dedup.Claim{}, err
	}
	c, err := g.Claim(ctx, key)
	switch {
	case c.Verdict == dedup.Duplicate && err != nil:
		return c, fmt.Errorf("%w: %w", ErrRedeemed, err) // its result is lost, or was too large
	case c.Verdict == dedup.Duplicate:
		return c, ErrRedeemed
	case err != nil:
		return c, fmt.Errorf("token: %w", err)
	case c.Verdict == dedup.InFlight:
		return c, dedup.ErrInFlight
	case c.Verdict != dedup.Fresh:
		return c, dedup.ErrUnknown
	}
	return c, nil
}
