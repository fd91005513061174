// Sends N events with Segment's own client: segment.mjs URL N. The record numbered 3 is one the gateway refuses.
import { createRequire } from 'node:module'
const require = createRequire(process.env.TTF_TEST_NODE_MODULES + '/')
const { Analytics } = require('@segment/analytics-node')

const [url, count] = [process.argv[2], Number(process.argv[3])]
const errors = []
const client = new Analytics({ writeKey: 'test-key', host: url, flushAt: 10, flushInterval: 100, maxRetries: 6 })
client.on('error', (error) => errors.push(error))
client.identify({ userId: 'segment-node-0', traits: { plan: 'pro' } })
for (let number = 0; number < count; number++) {
  const properties = { number, note: number === 3 ? 'x'.repeat(9000) : '' }
  client.track({ userId: `segment-node-${number}`, event: 'Project Created', properties })
}
await client.closeAndFlush()
if (errors.length > 0) {
  console.error('not delivered', errors)
  process.exit(1)
}
