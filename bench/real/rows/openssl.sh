# shellcheck shell=bash
# Cryptography: hashes, ciphers, key derivation and numbers of 2203 bits.

prepare()
{
	head -c "$(part 120)M" /dev/zero >zeros
}

work()
{
	openssl dgst -sha256 <zeros
	openssl dgst -sha3-256 <zeros | tail -c 33
	openssl enc -aes-256-cbc -pbkdf2 -iter 100 -S 00112233 -pass pass:word <zeros | tail -c 32
	openssl enc -chacha20 -K 00112233 -iv 00 <zeros 2>&1 | tail -c 32
	openssl kdf -keylen 32 -kdfopt digest:SHA512 -kdfopt pass:word -kdfopt hexsalt:00112233 \
		-kdfopt "iter:$(part 200000)" PBKDF2
	openssl prime -checks "$(part 40)" -hex "7$(printf 'f%.0s' {1..550})"
}
