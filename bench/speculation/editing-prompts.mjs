/** Files of 60 to 150 lines that a model is asked to give back with a small change, or as they are. Always the same ones. */
const nouns = "anchor bridge candle desert engine forest garden harbor island jacket kettle ladder market needle".split(" ");
const colors = ["red", "green", "blue", "amber", "violet"];
const cities = ["Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Porto", "Turin"];

const inventory = nouns.map((name, i) => ({
  id: 1000 + 37 * i,
  name,
  color: colors[i % colors.length],
  city: cities[(3 * i) % cities.length],
  price: Number((4.25 + 3.5 * i).toFixed(2)),
  inStock: i % 3 !== 0,
}));

const inventoryJson = JSON.stringify({ warehouse: "north", currency: "EUR", items: inventory.slice(0, 10) }, null, 2);

const settingsJson = JSON.stringify(
  Object.fromEntries(
    nouns.map((name, i) => [
      `${name}Service`,
      { host: `${name}.example.org`, port: 8000 + i, retries: 3, timeoutSeconds: 30 + 5 * i, enabled: i % 2 === 0 },
    ]),
  ),
  null,
  2,
);

const classTs = `export interface Item {
  id: number;
  name: string;
  price: number;
}

export class Store {
  private readonly items = new Map<number, Item>();
  private count = 0;

${["add", "update", "remove"]
  .map(
    (verb) => `  /** The item that was to ${verb}; throws when it is not valid. */
  ${verb}Item(item: Item): Item {
    if (item.price < 0) {
      throw new RangeError("the price of " + item.name + " is negative");
    }
    this.items.${verb === "remove" ? "delete(item.id)" : "set(item.id, item)"};
    this.count = this.items.size;
    return item;
  }
`,
  )
  .join("\n")}
  findItem(id: number): Item | undefined {
    return this.items.get(id);
  }

  totalPrice(): number {
    let total = 0;
    for (const item of this.items.values()) {
      total += item.price;
    }
    return total;
  }

  describe(): string {
    const names = [...this.items.values()].map((item) => item.name);
    return this.count + " items: " + names.join(", ");
  }
}`;

const modulePy = `import math


${["circle", "square", "cube", "sphere"]
  .map(
    (shape, i) => `class ${shape[0].toUpperCase()}${shape.slice(1)}:
    """A ${shape} of a given size."""

    def __init__(self, size):
        if size <= 0:
            raise ValueError("size of a ${shape} must be positive")
        self.size = size

    def ${i < 2 ? "area" : "volume"}(self):
        return ${["math.pi * self.size ** 2", "self.size ** 2", "self.size ** 3", "4 / 3 * math.pi * self.size ** 3"][i]}

    def __repr__(self):
        return f"${shape}({self.size})"
`,
  )
  .join("\n\n")}

def total(shapes):
    result = 0
    for shape in shapes:
        result += shape.area() if hasattr(shape, "area") else shape.volume()
    return result


if __name__ == "__main__":
    print(total([Circle(1), Square(2), Cube(3), Sphere(4)]))`;

const tableCsv = [
  "id,name,color,city,price",
  ...Array.from({ length: 60 }, (_, i) => {
    const { id, name, color, price } = inventory[(5 * i) % inventory.length];
    return `${id + i},${name},${color},${cities[i % cities.length]},${(price + i).toFixed(2)}`;
  }),
].join("\n");

const cssText = nouns
  .map(
    (name, i) => `.${name} {
  display: flex;
  margin: ${i}px ${2 * i}px;
  color: ${colors[i % colors.length]};
  border: 1px solid black;
}`,
  )
  .join("\n\n");

const letter = `Dear members of the walking club,

The spring season begins on the second Saturday of April. As every year, we meet at eight o'clock at the old stone bridge
behind the town hall. The first walk leads along the river to the mill, where Mrs Halvorsen will tell us how flour was made
two hundred years ago. Bring good shoes, a bottle of water and something to eat.

In May we take the train to the northern hills. The path is steep, so the walk is only for members who have some
experience. We expect to be back before the evening train leaves at a quarter past seven. Please tell Jonas by the end of
April whether you will come, because he has to reserve the seats.

In June the whole club is invited to the summer party in the garden of the Lindqvist family. There will be music, cake and
a quiz about the plants that we have seen. Children are welcome, dogs too, as long as they are on a lead.

The yearly fee is still twenty euros. Whoever has not paid yet can do so at the bridge in April.

With kind regards,
Ingrid Solheim`;

const sqlText = nouns
  .map(
    (name, i) => `CREATE TABLE ${name}s (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  color TEXT DEFAULT '${colors[i % colors.length]}',
  created_at TIMESTAMP NOT NULL
);`,
  )
  .join("\n\n");

const asks = [
  [inventoryJson, "json", 'Change the price of "desert" to 99.5 and give the complete file.'],
  [inventoryJson, "json", 'Rename the key "inStock" to "available" everywhere and give the complete file.'],
  [settingsJson, "json", "Set the retries of every service to 5 and give the complete file."],
  [classTs, "ts", 'Rename the method "findItem" to "getItem" and give the complete file.'],
  [classTs, "ts", "Give the complete file back without any change."],
  [modulePy, "python", 'Rename the attribute "size" to "length" and give the complete file.'],
  [modulePy, "python", "Repeat this file exactly."],
  [tableCsv, "csv", 'Replace the city "Lima" by "Bogota" and give the complete file.'],
  [cssText, "css", 'Change the border of every rule to "2px solid gray" and give the complete file.'],
  [letter, "text", "Repeat this text word by word."],
  [letter, "text", "Change the yearly fee to thirty euros and give the complete text."],
  [sqlText, "sql", 'Rename the column "name" to "title" and give the complete file.'],
];

/** `begin`: how the answer begins, so that a small model gives the file and does not talk about it. */
export const editingPrompts = asks.map(([file, language, ask], i) => ({
  id: `editing-${i}`,
  category: "editing",
  text: `\`\`\`${language}\n${file}\n\`\`\`\n\n${ask}`,
  begin: `Here is the complete ${language === "text" ? "text" : "file"}:\n\n\`\`\`${language}\n`,
}));
