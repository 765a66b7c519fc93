// A webtorrent as a program of its own: its task is the first argument, JSON; what happens goes to
// its output, a JSON object a line.
// Task: {"module", "torrent" (path or link), "save_path", "port", "utp", "dht" (false or
// [host, port]), "tracker", "lsd", "pex", "secure", "peers": ["host:port"]}.
const task = JSON.parse(process.argv[2])
const { default: WebTorrent } = await import(task.module)
const started = Date.now()

function say (type, more = {}) {
  console.log(JSON.stringify({ type, after_s: (Date.now() - started) / 1000, ...more }))
}

const client = new WebTorrent({
  torrentPort: task.port,
  dhtPort: task.port,
  utp: task.utp,
  secure: task.secure,
  dht: task.dht ? { bootstrap: [task.dht.join(':')] } : false,
  lsd: task.lsd,
  utPex: task.pex,
  natUpnp: false,
  natPmp: false,
  webSeeds: false,
  downloadLimit: task.limit ?? -1,
  tracker: task.tracker ? { wrtc: false } : false
})
client.on('error', error => say('error', { message: String(error) }))
const torrent = client.add(task.torrent, { path: task.save_path })
torrent.on('ready', () => say('ready', { progress: torrent.progress }))
torrent.on('wire', (wire, address) => {
  say('wire', { address, kind: wire.type, id: wire.peerId })
  wire.on('close', () => say('closed', { address }))
  wire.on('unchoke', () => say('unchoked', { address }))
  wire.once('download', () => say('payload', { address }))
})
torrent.on('warning', warning => say('warning', { message: String(warning) }))
torrent.on('done', () => say('done'))
torrent.once('infoHash', () => { for (const peer of task.peers) torrent.addPeer(peer) })
setInterval(() => {
  say('progress', { progress: torrent.progress, downloaded: torrent.downloaded, uploaded: torrent.uploaded })
}, 1000)
