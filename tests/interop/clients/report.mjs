// What the JavaScript clients are told, and what they print (README.md).

export const [url, token] = process.argv.slice(2);

export const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

export const printEvent = ({ event, id, data }) => print({ event, id, data });
