// A webtorrent as a program of its own, which seeds or downloads one torrent until it is ended.
// Its task is the first argument, as JSON: {"module", "torrent" (path or link), "folder", "port",
// "nodes" (["host:port"]: with a node of the DHT), "utp", "encryption"}, or {"version": path}.
import { readFileSync } from 'node:fs'
import { register } from 'node:module'

// WebRTC is not tried, and its compiled part is often not there: webtorrent gets names without it.
const names = ['RTCPeerConnection', 'RTCSessionDescription', 'RTCIceCandidate']
const nothing = script(names.map(each => `export const ${each} = undefined`).join('\n'))
const hook = `export async function resolve (name, context, next) {
  if (name === 'webrtc-polyfill') return { url: ${JSON.stringify(nothing)}, shortCircuit: true }
  return next(name, context)
}`

const task = JSON.parse(process.argv[2])

function script (text) {
  return `data:text/javascript,${encodeURIComponent(text)}`
}

function fail (error) {
  console.error(String(error))
  process.exit(1)
}

function seed (WebTorrent) {
  const client = new WebTorrent({
    torrentPort: task.port,
    dhtPort: task.port,
    utp: task.utp,
    secure: task.encryption,
    dht: task.nodes.length ? { bootstrap: task.nodes } : false,
    lsd: false,
    natUpnp: false,
    natPmp: false,
    tracker: { wrtc: false }
  })
  client.on('error', fail)
  const torrent = client.add(task.torrent, { path: task.folder, uploads: 100 })
  torrent.on('warning', warning => console.error(String(warning)))
  const stop = () => {
    setTimeout(() => process.exit(0), 5000)
    client.destroy(() => process.exit(0))
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

if (task.version) {
  const { version } = JSON.parse(readFileSync(task.version, 'utf8'))
  console.log(`webtorrent ${version}, Node.js ${process.versions.node}`)
} else {
  register(script(hook))
  seed((await import(task.module)).default)
}
