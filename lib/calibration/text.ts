/**
 * The built-in text that codebooks are made from where the caller has none: prose, dialogue, explanation, code, data, lists
 * and several languages, since keys depend on what is read. Written for this purpose. Changing it changes nothing but new files.
 */
export const builtinText = `The ferry was late again, and nobody on the quay seemed to mind. Marta sat on her suitcase with the lid of a paper cup
between her teeth and counted the gulls on the roof of the fish hall. There were nineteen. An hour earlier there had been
twenty-two, which she took as a sign that something, somewhere, was being unloaded. The old harbour master came out of his
office, looked at the sky as though it owed him money, and went back in without a word.

"Does it ever come on time?" asked the man beside her. He had a violin case on his knees and city shoes on his feet.

"Once," said Marta. "In the spring of the year my brother was born. People still talk about it."

"And what happened?"

"Nobody was here to get on. It left empty, and the captain was so ashamed that he has been late ever since."

He laughed, and then he stopped, because he could not tell whether she was joking. The wind turned. Far out, behind the
second buoy, a smudge of smoke became a funnel, and the funnel became a ship.

1. How a heat pump works

A heat pump moves heat instead of making it. Inside a closed loop runs a refrigerant that boils at a very low temperature.
Outdoors the liquid passes through a coil; even air at minus five degrees is warm enough to make it evaporate, and the vapour
carries that energy away. A compressor then squeezes the vapour, which raises both its pressure and its temperature. Indoors
the hot vapour meets the cooler water of the heating circuit, condenses, and gives up what it collected outside together with
the work of the compressor. Finally an expansion valve lets the pressure drop, the liquid cools far below the temperature of
the garden, and the cycle begins again. The ratio of heat delivered to electricity used is called the coefficient of
performance. For a well-planned house it lies between three and five over a whole year: one kilowatt-hour from the socket,
four kilowatt-hours on the radiator. The figure falls when the water has to be very hot, which is why large radiators and
floor heating, both content with 35 °C, suit these machines so well.

2. A small program

The following function merges overlapping intervals. It sorts them by their start and then walks through the list once.

def merge_intervals(intervals):
    """Return the union of closed intervals as a sorted list of disjoint ones."""
    merged = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return [tuple(pair) for pair in merged]

assert merge_intervals([(5, 8), (1, 3), (2, 4)]) == [(1, 4), (5, 8)]
assert merge_intervals([]) == []

The same idea in another language, with the types written down:

interface Booking { room: string; from: number; until: number }

export function freeRooms(bookings: readonly Booking[], rooms: string[], from: number, until: number): string[] {
  const taken = new Set<string>();
  for (const booking of bookings) {
    if (booking.from < until && from < booking.until) taken.add(booking.room);
  }
  return rooms.filter((room) => !taken.has(room));
}

SELECT room, COUNT(*) AS nights, SUM(price) AS revenue
FROM bookings WHERE arrival >= '2031-03-01' AND cancelled = FALSE
GROUP BY room HAVING COUNT(*) > 3 ORDER BY revenue DESC LIMIT 10;

3. An order, as it reached the warehouse

{
  "order": 48213,
  "customer": {"name": "Ines Okafor", "city": "Porto", "member_since": 2019, "newsletter": false},
  "items": [
    {"sku": "LMP-0042", "title": "Desk lamp, brass", "quantity": 2, "unit_price": 39.9},
    {"sku": "CBL-0310", "title": "Extension cord, 3 m", "quantity": 1, "unit_price": 8.25},
    {"sku": "BLB-1107", "title": "LED bulb, warm white", "quantity": 6, "unit_price": 4.75}
  ],
  "shipping": {"method": "parcel", "weight_kg": 3.4, "insured": true},
  "total": 116.55,
  "note": null
}

4. Minutes of the garden committee, Thursday

Present: Ruth, Abdel, Mr Lindqvist, the twins. Excused: Paula (influenza).

- The water butt behind the shed leaks. Abdel has found the crack and wants forty euros for resin; granted, if he keeps the
  receipt this time.
- Slugs. Nobody wishes to discuss the slugs again. The beer traps stay until the end of June.
- Mr Lindqvist asked who had pruned the quince in March. After a silence the twins admitted that they had taken it for a
  weed. It was decided to plant a second quince, and to put a sign on the first.
- Open day: Sunday the fourteenth, from eleven. Cake list on the door. Ruth brings the long table, Paula (if alive) the urn.
- Any other business: none that could be written down.

Next meeting in four weeks, same place, but earlier, because of the match.

5. Questions and answers

Q: Why is the sea salty, but rivers are not?
A: Rivers do carry salt, only very little of it. Rain is slightly acidic and dissolves minerals from rock; streams take them
down to the sea. There the water evaporates and the minerals stay. Over hundreds of millions of years a trace has become
thirty-five grams in every litre.

Q: What is the difference between a virus and a bacterium?
A: A bacterium is a living cell that feeds, grows and divides by itself. A virus is far smaller, little more than genetic
instructions in a coat of protein, and it can only multiply by making a living cell do the work. Antibiotics interfere with
the machinery of bacteria; a virus has no such machinery, so they do nothing against a cold.

Q: I have 3 boxes with 24 pencils each and give 5 pencils to each of 13 children. How many are left?
A: Three boxes hold 3 × 24 = 72 pencils. The children get 13 × 5 = 65. So 72 - 65 = 7 pencils are left.

6. In other languages

Am Morgen lag Nebel über dem Fluss, und die Brücke schien in der Luft zu hängen. Der Bäcker hatte schon geöffnet; vor der Tür
standen zwei Fahrräder und ein Hund, der auf niemanden wartete. „Heute wird es warm“, sagte die Frau hinter der Theke, obwohl
nichts darauf hindeutete. Sie behielt recht, wie immer.

Ma grand-mère gardait les recettes dans une boîte à biscuits, écrites au dos d'enveloppes. Aucune n'indiquait les quantités :
« assez de farine », disait-elle, ou bien « jusqu'à ce que ce soit bon ». Il nous a fallu dix ans pour retrouver le goût de sa
tarte aux prunes, et nous ne sommes toujours pas d'accord sur la cannelle.

El tren cruzaba la llanura sin prisa. En el vagón viajaban una maestra, tres soldados dormidos y un niño que contaba los postes
en voz baja. ¿Cuánto falta?, preguntó por quinta vez. La maestra miró el reloj y le dijo la verdad: nadie lo sabía, pero el mar
estaba cada vez más cerca.

7. From a review

I wanted to love this kettle. It is beautiful, it is quiet, and it pours like a dream. But the handle gets so hot that I now
keep an oven glove next to the tea, which rather spoils the elegance. Customer service answered within a day (thank you,
Jonas!) and sent a second one; the second one burned me too. Two stars, one for Jonas.

8. A letter

Dear Mr Abernathy,

thank you for your application of 3 May. We were impressed by your work on tidal gauges, and in particular by the chapter on
harmonic analysis, which two of us read on the same train and argued about until the last stop. We would like to invite you
to an interview on Wednesday, 29 May, at half past nine. Please bring your certificates, and, if you can, the gauge itself.
Travel expenses up to 150 pounds will be refunded.

Yours sincerely,
Dr Helen Marsh, Institute of Coastal Studies

9. On proof

Suppose there were only finitely many primes, p1, p2, …, pn. Multiply them all together and add one. The result is larger than
each of them and leaves the remainder one when divided by any of them, so none of them divides it. But every number greater
than one has a prime divisor. That divisor must be missing from the list, and the list was said to be complete. The assumption
was therefore wrong. What is striking is not that the argument works, but how little it needs: no formula for primes, no table,
only the idea that a thing which cannot be on a list proves the list too short.

10. Recipe: lentil soup for four

Ingredients: 250 g brown lentils, 2 carrots, 1 leek, 1 onion, 2 cloves of garlic, 1 bay leaf, 1.5 l vegetable stock, 2 tbsp
olive oil, 1 tbsp vinegar, salt, pepper.

Chop the vegetables finely. Heat the oil in a large pot and soften the onion for five minutes without letting it brown. Add the
garlic, the carrots and the leek, stir, and wait until the kitchen smells of Sunday. Tip in the lentils, the bay leaf and the
stock. Simmer for forty minutes with the lid ajar. Remove the leaf, season, and add the vinegar at the very end: it wakes
everything up. Tastes better on the second day.

11. News in brief

BRIDGE REOPENS. After eleven months of repairs, traffic on the northern bridge resumed on Monday morning. The city put the cost
at 18.6 million, a fifth more than planned; the works department blamed corroded bearings that no earlier inspection had found.
Buses 4, 17 and N2 return to their usual routes.

RECORD HARVEST. Growers in the valley report the largest apple harvest since 1998, about 42,000 tonnes. Prices have fallen by
nearly a third. "You pray for sun, and then you pray for less of it," said one of them.

12. A log file

2031-02-11T08:14:02.113Z INFO  server listening on 0.0.0.0:8080 (pid 3121)
2031-02-11T08:14:09.870Z INFO  GET /api/v2/stations?near=48.137,11.575&limit=5 200 34ms
2031-02-11T08:15:41.006Z WARN  cache miss ratio 0.71 over the last 60 s, threshold 0.50
2031-02-11T08:15:41.912Z ERROR upstream "tiles" timed out after 3000 ms (attempt 1 of 3)
2031-02-11T08:15:45.020Z INFO  upstream "tiles" recovered, 212 requests were queued meanwhile

13. The end of the story

When the ferry had tied up, only four people got off: a priest, two girls with a goat, and the captain himself, who wanted his
newspaper. Marta was the first on board. The man with the violin hesitated at the gangway, turned round, and looked for a long
moment at the town, its one church, its nineteen gulls. Then he followed her. They stood at the rail without speaking until the
harbour was no wider than a hand. "You know," he said at last, "I came here to sell this thing." He tapped the case. "And?" said
Marta. "And the man who wanted to buy it asked me to play something first." She waited. "So I played," he said, "and then I could
not sell it any more." Behind them the captain blew the horn, twice, although there was nobody left to warn.
`;
