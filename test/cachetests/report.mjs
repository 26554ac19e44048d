// Writes what http-cache-tests found into docs/cache.md: report.mjs PACKAGE RESULTS REASONS DOCUMENT
import fs from 'fs'
import path from 'path'
import { pathToFileURL } from 'url'

const [pkg, resultsFile, reasonsFile, document] = process.argv.slice(2)
const load = f => JSON.parse(fs.readFileSync(f, 'utf8'))
const suites = (await import(pathToFileURL(path.join(pkg, 'tests/index.mjs')))).default
const published = (await import(pathToFileURL(path.join(pkg, 'results/index.mjs')))).default
const reasons = load(reasonsFile)

// The required tests of these groups keep answers from those they are not for, or that are outdated.
const safety = ['auth', 'cc-request', 'cc-response', 'vary', 'vary-parse', 'invalidation', 'status', 'cc-freshness', 'cc-parse', 'expires']

const others = published.filter(p => p.type === 'rev-proxy' && p.file !== 'nuster.json')
  .map(p => ({ name: `${p.name} ${p.version.replace(/[-+].*/, '')}`, results: load(path.join(pkg, 'results', p.file)) }))
const us = { name: '**Backstay**', results: load(resultsFile) }
const all = [us, ...others]
const kinds = ['required', 'optimal', 'check']
const kindOf = t => t.kind || 'required'
const tests = s => s.tests.filter(t => !t.browser_only)
const passes = (of, t) => of.results[t.id] === true
const count = (of, list) => `${list.filter(t => passes(of, t)).length}`

const out = []
const row = cells => out.push(`| ${cells.join(' | ')} |`)
const head = cells => { row(cells); row(cells.map(() => '---')) }

const every = suites.flatMap(tests)
head(['', ...kinds.map(k => `${k} (${every.filter(t => kindOf(t) === k).length})`)])
for (const of of all) row([of.name, ...kinds.map(k => count(of, every.filter(t => kindOf(t) === k)))])

out.push('', 'Passed in each group, of those that are required and those that are optimal:', '')
head(['group', 'required', ...all.map(a => a.name), 'optimal', ...all.map(a => a.name)])
for (const s of suites) {
  const of = k => tests(s).filter(t => kindOf(t) === k)
  const cells = k => of(k).length === 0 ? ['', ...all.map(() => '')] : [of(k).length, ...all.map(a => count(a, of(k)))]
  row([s.name + (safety.includes(s.id) ? ' ◆' : ''), ...cells('required'), ...cells('optimal')])
}

const problems = []
for (const kind of kinds) {
  const failing = suites.flatMap(s => tests(s).map(t => [s, t])).filter(([, t]) => kindOf(t) === kind && !passes(us, t))
  out.push('', { required: 'Required, and not passed:', optimal: 'Optimal, and not passed:', check: 'Checks, which only ask what a cache does, answered with no:' }[kind], '')
  head(['test', 'why'])
  for (const [s, t] of failing) {
    const why = reasons[t.id]
    row([`\`${t.id}\``, why || '?'])
    if (!why) problems.push(`${t.id} fails and is not accounted for: ${JSON.stringify(us.results[t.id])}`)
    if (kind === 'required' && safety.includes(s.id)) problems.push(`${t.id} is required, and of a group that must pass`)
  }
}
for (const id of Object.keys(reasons)) {
  if (us.results[id] === true) problems.push(`${id} passes: take its reason out`)
}

const [from, to] = ['<!-- results -->', '<!-- end of results -->']
const text = fs.readFileSync(document, 'utf8')
const [a, b] = [text.indexOf(from), text.indexOf(to)]
if (a < 0 || b < 0) throw new Error(`${document} has no place for the results`)
fs.writeFileSync(document, text.slice(0, a + from.length) + '\n' + out.join('\n') + '\n' + text.slice(b))
for (const of of all) console.log(of.name.replace(/\*/g, '').padEnd(16), kinds.map(k => `${k} ${count(of, every.filter(t => kindOf(t) === k))}/${every.filter(t => kindOf(t) === k).length}`).join('  '))
for (const p of problems) console.error(`cache-tests: ${p}`)
process.exit(problems.length > 0 ? 1 : 0)
