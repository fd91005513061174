// Sends N events with PostHog's own client: posthog.mjs URL N. The record numbered 3 is one the gateway refuses.
import { createRequire } from 'node:module'
const require = createRequire(process.env.TTF_TEST_NODE_MODULES + '/')
const { PostHog } = require('posthog-node')

const [url, count] = [process.argv[2], Number(process.argv[3])]
const errors = []
const client = new PostHog('phc_test', { host: url, flushAt: 10, flushInterval: 100, fetchRetryCount: 6, fetchRetryDelay: 300 })
client.on('error', (error) => errors.push(error))
client.identify({ distinctId: 'posthog-node-0', properties: { plan: 'pro' } })
for (let number = 0; number < count; number++) {
  const properties = { number, note: number === 3 ? 'x'.repeat(9000) : '' }
  client.capture({ distinctId: `posthog-node-${number}`, event: 'Project Created', properties })
}
await client.shutdown(30000)
if (errors.length > 0) {
  console.error('not delivered', errors)
  process.exit(1)
}
