// Makes tests/unit/origin/vectors/sigstore-js.json with Sigstore's own JavaScript: npm install @sigstore/sign @sigstore/mock
import { createRequire } from 'module'; import fs from 'fs'; import crypto from 'crypto';
const require = createRequire(import.meta.url);
const nock = require('nock'); nock.disableNetConnect();
const { initializeCA, initializeCTLog, initializeTLog, fulcioHandler, rekorHandler } = require('@sigstore/mock');
const { DSSEBundleBuilder, MessageSignatureBundleBuilder, FulcioSigner, RekorWitness } = require('@sigstore/sign');
const { bundleToJSON } = require('@sigstore/bundle');
const pair = () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ct = await initializeCTLog(pair());
const ca = await initializeCA(pair(), ct);
const log = await initializeTLog('https://rekor.sigstore.dev', pair());
// Rekor stores a canonical form of what it is given; the mock stores it as it came
const stored = log.log.bind(log);
const sha256 = text => ({algorithm: 'sha256', value: crypto.createHash('sha256').update(text).digest('hex')});
log.log = async entry => {
  if (entry.kind === 'dsse') {
    const envelope = JSON.parse(entry.spec.proposedContent.envelope);
    entry = {apiVersion: '0.0.1', kind: 'dsse', spec: {envelopeHash: sha256(entry.spec.proposedContent.envelope),
      payloadHash: sha256(Buffer.from(envelope.payload, 'base64')),
      signatures: [{signature: envelope.signatures[0].sig, verifier: entry.spec.proposedContent.verifiers[0]}]}};
  }
  return stored(entry);
};
const adapt = h => async (_, body) => { const r = await h.fn(typeof body === 'string' ? body : JSON.stringify(body)); return [r.statusCode, r.response, {'Content-Type': r.contentType || 'text/plain'}]; };
const serve = () => { for (const [base, h] of [['https://fulcio.sigstore.dev', fulcioHandler(ca, {strict: true})], ['https://rekor.sigstore.dev', rekorHandler(log, {strict: true})]]) nock(base).post(h.path).reply(adapt(h)); };
const claims = {sub: 'https://github.com/rocketseat/widget-server/.github/workflows/release.yml@refs/heads/main', iss: 'https://token.actions.githubusercontent.com', aud: 'sigstore'};
const b64 = o => Buffer.from(JSON.stringify(o)).toString('base64url');
const token = `${b64({alg: 'none'})}.${b64(claims)}.x`;
const parts = () => ({ signer: new FulcioSigner({fulcioBaseURL: 'https://fulcio.sigstore.dev', identityProvider: {getToken: async () => token}}), witnesses: [new RekorWitness({rekorBaseURL: 'https://rekor.sigstore.dev', entryType: 'dsse'})] });
const manifest = Buffer.from(JSON.stringify({schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config: {mediaType: 'application/vnd.oci.image.config.v1+json', digest: 'sha256:' + 'a'.repeat(64), size: 2}, layers: []}));
const hex = crypto.createHash('sha256').update(manifest).digest('hex');
const statement = type => Buffer.from(JSON.stringify({_type: 'https://in-toto.io/Statement/v1', subject: [{digest: {sha256: hex}}], predicateType: type, predicate: {}}));
const out = {image: 'sha256:' + hex, manifest: manifest.toString(), ...claims};
const dsse = async data => { serve(); return bundleToJSON(await new DSSEBundleBuilder({...parts(), certificateChain: false}).create({data, type: 'application/vnd.in-toto+json'})); };
out.statement = await dsse(statement('https://sigstore.dev/cosign/sign/v1'));
out.provenance = await dsse(statement('https://slsa.dev/provenance/v1'));
serve();
out.message = bundleToJSON(await new MessageSignatureBundleBuilder({...parts()}).create({data: manifest}));
const start = {validFor: {start: '2020-01-01T00:00:00Z'}};
out.roots = {mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  certificateAuthorities: [{subject: {}, uri: 'https://fulcio.sigstore.dev', certChain: {certificates: [{rawBytes: Buffer.from(ca.rootCertificate).toString('base64')}]}, ...start}],
  tlogs: [{baseUrl: 'https://rekor.sigstore.dev', hashAlgorithm: 'SHA2_256', publicKey: {rawBytes: log.publicKey.toString('base64'), keyDetails: 'PKIX_ECDSA_P256_SHA_256', ...start}, logId: {keyId: crypto.createHash('sha256').update(log.publicKey).digest('base64')}}]};
fs.writeFileSync("sigstore-js.json", JSON.stringify(out, null, 1) + '\n');
